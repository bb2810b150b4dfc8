export type TreeErrorCode =
  | 'INVALID_NAME' // empty, holds NUL, or a whiteout that names nothing
  | 'NAME_TOO_LONG' // a component over 255 bytes, a path or link target over 4095, or deeper than 2048 directories
  | 'INVALID_ENTRY' // a type, size, owner or device number that no inode can have, or xattrs that no file system takes
  | 'NOT_A_DIRECTORY' // a name below something that is a file in this layer
  | 'TOO_MANY_LINKS' // a loop of symbolic links on the way to a parent directory
  | 'UNRESOLVED_LINK'; // a hard link to a name that this layer does not have (yet), or to a directory

/** A table of contents that cannot be made into a tree. containerd refuses to unpack such a layer too, so the caller leaves it to containerd. */
export class TreeError extends Error {
  override readonly name = 'TreeError';
  readonly code: TreeErrorCode;

  constructor(code: TreeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
