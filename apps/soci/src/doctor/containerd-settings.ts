import { stat } from 'node:fs/promises';
import { ok, problem, warning, type Check, type Verdict } from './check.ts';
import { ContainerdConfigError, type ContainerdConfig } from './containerd-config.ts';
import type { DoctorContext } from './doctor-context.ts';

const NAME = 'soci';
const RESTART = 'and restart containerd';
const KUBELET_FOLDER = '/var/lib/kubelet';

/** `[proxy_plugins.soci]` of containerd's configuration. */
export const proxyPlugin: Check = {
  name: 'containerd-config',
  run: async (context, signal) => {
    const config = await read(context);
    if ('outcome' in config) return config;
    const address = stripScheme(await context.serviceAddress(signal));
    const where = config.files.join(', ');
    const plugin = config.proxyPlugins.get(NAME);
    if (plugin === undefined) {
      const other = [...config.proxyPlugins].find(([, { address: given = '' }]) => stripScheme(given) === address)?.[0];
      if (other !== undefined)
        return warning(`the plugin is called ${other} in ${where}`, `call it ${NAME}: labels and settings are looked up by that name`);
      return problem(`no [proxy_plugins.${NAME}] in ${where}`, `add it with type = "snapshot" and address = "${address}" ${RESTART}`);
    }
    if (plugin.type !== 'snapshot')
      return problem(`[proxy_plugins.${NAME}] has type ${JSON.stringify(plugin.type)}`, `set type = "snapshot" ${RESTART}`);
    if (stripScheme(plugin.address ?? '') !== address)
      return problem(
        `[proxy_plugins.${NAME}] has address ${JSON.stringify(plugin.address)}, the service is at ${address}`,
        `set address = "${address}" ${RESTART}`,
      );
    const root = await context.serviceRoot(signal);
    if (typeof plugin.exports.root !== 'string')
      return warning(`[proxy_plugins.${NAME}.exports] has no root: the kubelet measures the wrong disk`, `set root = "${root}" ${RESTART}`);
    return ok(`[proxy_plugins.${NAME}] leads to ${address}`);
  },
};

/** Whether Kubernetes' pulls come here, and with the labels that say which image it is. */
export const criSettings: Check = {
  name: 'containerd-cri',
  run: async (context) => {
    const config = await read(context);
    if ('outcome' in config) return []; // said above
    const { cri, transferSnapshotters, proxyPlugins } = config;
    if (cri.isDisabled)
      return warning(
        'the CRI plugin is disabled: Kubernetes cannot use this containerd',
        'remove it from disabled_plugins where Kubernetes is wanted',
      );
    const isChosen = cri.snapshotter === NAME;
    if (!isChosen && !cri.runtimeSnapshotters.includes(NAME)) {
      const now = cri.snapshotter === undefined ? 'not set' : JSON.stringify(cri.snapshotter);
      const cure = `set snapshotter = "${NAME}" in ${cri.table} ${RESTART}`;
      if (await isKubernetesNode(context))
        return problem(`snapshotter of CRI is ${now}: pods' images are not pulled through ${NAME}`, cure);
      return warning(`snapshotter of CRI is ${now}; there is no kubelet here that would need it`, cure);
    }
    const chosen = isChosen ? `CRI uses ${NAME}` : `runtimes of CRI use ${NAME}`;
    if (cri.disableSnapshotAnnotations === false) return ok(`${chosen}, with annotations`);
    const isByTransfer =
      config.version >= 3 &&
      transferSnapshotters.includes(NAME) &&
      isOn(proxyPlugins.get(NAME)?.exports.enable_remote_snapshot_annotations);
    if (isByTransfer) return ok(`${chosen}, by the transfer service, with annotations`);
    return problem(
      `${chosen}, but does not say which image a layer belongs to: everything is pulled plainly`,
      `set disable_snapshot_annotations = false in ${cri.table} ${RESTART}`,
    );
  },
};

async function read(context: DoctorContext): Promise<ContainerdConfig | Verdict> {
  try {
    return await context.containerdConfig();
  } catch (error) {
    if (!(error instanceof ContainerdConfigError)) throw error;
    return problem(
      `containerd's configuration cannot be read: ${error.message}`,
      'name it with --containerd-config, or make it with: containerd config default',
    );
  }
}

async function isKubernetesNode(context: DoctorContext): Promise<boolean> {
  return stat(context.path(KUBELET_FOLDER)).then(
    () => true,
    () => false,
  );
}

function isOn(value: unknown): boolean {
  return value === true || value === 'true';
}

function stripScheme(address: string): string {
  return address.replace(/^unix:\/\//, '');
}
