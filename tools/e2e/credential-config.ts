import type { Place } from './stack.ts';

/** Lines of config.toml: what is not read is not fetched, so that every fetch of a test is one that it asked for. */
export const NO_BACKGROUND_FETCH = '[background_fetch]\ndisable = true\n';

/** Lines that turn the CRI source on. */
export function criConfig({ containerdAddress }: Place): string {
  return `[cri_keychain]\nenable_keychain = true\nimage_service_path = ${JSON.stringify(containerdAddress)}\n`;
}
