export type ConfigErrorCode = 'NOT_FOUND' | 'INVALID' | 'UNKNOWN_KEY';

/** Why a configuration file cannot be used. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code: ConfigErrorCode;

  constructor(code: ConfigErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
