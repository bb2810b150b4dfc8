const NODE_ID = /^[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?$/;
const MAX_LENGTH = 253;

/** Whether it can stand in a subject: lower-case letters, digits, hyphens and underscores, at most 253, a letter or digit first and last. */
export function isNodeId(text: string): boolean {
  return text.length <= MAX_LENGTH && NODE_ID.test(text);
}

/**
 * The id of a node. Names of Kubernetes nodes may have dots, which divide subjects, and never have underscores.
 * @throws {TypeError} for what is no name of a host
 */
export function toNodeId(name: string): string {
  const id = name.toLowerCase().replaceAll('.', '_');
  if (name.includes('_') || !isNodeId(id)) throw new TypeError(`${JSON.stringify(name.slice(0, MAX_LENGTH))} is no name for a node`);
  return id;
}
