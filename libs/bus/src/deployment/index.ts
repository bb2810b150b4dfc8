export { permissionsOf, type Identity, type Permissions } from '../subjects.ts';
export { expiryOf } from './certificates.ts';
export { Deployment, type CreateDeploymentOptions, type RotationScope } from './deployment.ts';
export type { DeploymentDocument, Topology } from './deployment-document.ts';
export { DeploymentError, type DeploymentErrorCode } from './deployment-error.ts';
export { KEY_KINDS, type KeyKind } from './members.ts';
export type { Owner } from './private-files.ts';
