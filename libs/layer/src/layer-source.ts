/** An image through which a layer can be read. */
export interface LayerSource {
  readonly reference: string;
  readonly repository: string;
  readonly namespaces: readonly string[];
}
