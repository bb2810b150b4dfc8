import { access } from 'node:fs/promises';
import { ConfigError } from '@soci/config';
import { describeError } from '@soci/errors';
import { ok, problem, warning, type Check } from './check.ts';

const MAX_TOLD = 5;

/** The service's own config.toml. */
export const configFile: Check = {
  name: 'config',
  run: async (context) => {
    const { configPath } = context.options;
    try {
      const { warnings } = await context.config();
      if (warnings.length === 0)
        return ok((await isThere(configPath)) ? `${configPath} can be read` : `${configPath} is not there: all defaults`);
      const told = warnings
        .slice(0, MAX_TOLD)
        .map((text) => warning(text.replace(/^config file /, ''), 'correct it or take it out, then restart the service'));
      const more = warnings.length - told.length;
      return more === 0 ? told : [...told, warning(`${more} more warnings`, 'the service logs them when it starts')];
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return problem(
        describeError(error),
        'correct it: the service does not start with it; `soci-snapshotter-grpc config default` prints one that is right',
      );
    }
  },
};

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
