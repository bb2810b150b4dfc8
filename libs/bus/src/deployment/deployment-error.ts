export type DeploymentErrorCode = 'EXISTS' | 'NOT_FOUND' | 'INVALID';

/** What is wrong with a folder of keys, or with what is wanted of it. */
export class DeploymentError extends Error {
  override readonly name = 'DeploymentError';
  readonly code: DeploymentErrorCode;

  constructor(code: DeploymentErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
