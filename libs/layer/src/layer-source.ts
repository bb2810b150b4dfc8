/** An image through which a layer can be read. */
export interface LayerSource {
  readonly reference: string;
  /** With its registry: `docker.io/library/alpine`. */
  readonly repository: string;
  /** Kubernetes namespaces that pulled it; empty when unknown. */
  readonly namespaces: readonly string[];
}

/** The registry of an image, in the form in which changes name it. */
export function hostOf({ repository }: Pick<LayerSource, 'repository'>): string {
  return repository.slice(0, Math.max(0, repository.indexOf('/'))).toLowerCase();
}
