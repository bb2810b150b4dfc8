export { ConfigError, type ConfigErrorCode } from './errors.ts';
export { DEFAULT_ADDRESS, DEFAULT_CONFIG_PATH, DEFAULT_ROOT, parseServiceFlags, serviceHelp, type ServiceFlags } from './flags.ts';
export { loadConfig, parseConfig, type LoadedConfig, type LoadOptions, type SnapshotterConfig } from './load.ts';
export { KEYS_WITHOUT_EFFECT } from './schema.ts';
export { toToml } from './to-toml.ts';
export { parse as parseToml, TomlError } from 'smol-toml';
