import { introspection, version, Empty } from '@soci/proto';
import { ok, problem, warning, type Check } from './check.ts';

const SNAPSHOTTER_TYPE = 'io.containerd.snapshotter.v1';
const PROXY = 'soci';

/** What the running containerd says: whether it has the plugin, and whether that works. */
export const containerdPlugin: Check = {
  name: 'containerd',
  run: async ({ containerd, options }, signal) => {
    let running: version.VersionResponse;
    try {
      running = await containerd.client(version.VersionService).version(Empty.create(), { signal });
    } catch {
      return []; // the check of its socket says so
    }
    const { plugins } = await containerd
      .client(introspection.IntrospectionService)
      .plugins({ filters: [`type==${SNAPSHOTTER_TYPE}`] }, { signal });
    const plugin = plugins.find(({ id }) => id === PROXY);
    const what = `containerd ${running.version}`;
    if (plugin === undefined)
      return problem(
        `${what} runs without the plugin ${PROXY}`,
        `add [proxy_plugins.${PROXY}] to ${options.containerdConfigPath} and restart containerd`,
      );
    if (plugin.initErr !== undefined)
      return problem(`${what} could not load the plugin ${PROXY}: ${plugin.initErr.message}`, 'see its log, then restart containerd');
    if (plugin.capabilities.includes('remap-ids'))
      return warning(
        `${what} gives the plugin ${PROXY} snapshots with mapped ids, which are refused`,
        `remove capabilities from [proxy_plugins.${PROXY}]`,
      );
    return ok(`${what} has the plugin ${PROXY}`);
  },
};
