export { buildTree } from './build-tree.ts';
export { impliedDirectories, impliedKey, inheritImplied } from './implied.ts';
export { findChild, lookup, nameOf, parentOf, pathOf } from './lookup.ts';
export { FILE_TYPE, INODE_FLAG, isDirectory, type Tree, type Xattr, xattrsOf } from './tree.ts';
export { TreeError, type TreeErrorCode } from './tree-error.ts';
