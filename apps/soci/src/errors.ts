export type CliErrorCode =
  | 'ARGUMENT_MISSING'
  | 'ARGUMENT_INVALID'
  | 'NOT_FOUND'
  | 'WRONG_KIND' // a digest of something else than the command is for
  | 'OUTPUT_FAILED'
  | 'PUSH_FAILED'
  | 'NOT_RUNNING' // the service that is to be asked
  | 'UNDECIDED' // which credential a registry is shown
  | 'PROBLEMS_FOUND' // by the doctor
  | 'TIMEOUT';

/** What a command cannot do. `message` is what the user reads after `soci: `. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code: CliErrorCode;

  constructor(code: CliErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
