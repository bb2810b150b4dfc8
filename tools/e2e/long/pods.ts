import { waitFor, type KubeApi } from '@soci/testing';

export interface PodOptions {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly image: string;
  /** Its one container runs this and ends. */
  readonly command: readonly string[];
  /** `default` by default. */
  readonly serviceAccount?: string;
  readonly imagePullSecrets?: readonly string[];
}

interface Pod {
  readonly status: { readonly phase?: string; readonly containerStatuses?: unknown };
}

const POD_MS = 90_000;

/** Runs a pod to its end, without a scheduler and on the network of the host. @throws where it does not succeed, with what its status says */
export async function runPod(api: KubeApi, options: PodOptions): Promise<void> {
  const { namespace, name, node, image, command, serviceAccount = 'default', imagePullSecrets = [] } = options;
  const pods = `/api/v1/namespaces/${namespace}/pods`;
  await api.expect('POST', pods, {
    metadata: { name },
    spec: {
      nodeName: node,
      hostNetwork: true,
      restartPolicy: 'Never',
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      serviceAccountName: serviceAccount,
      imagePullSecrets: imagePullSecrets.map((secret) => ({ name: secret })),
      containers: [{ name: 'main', image, command }],
    },
  });
  let status: Pod['status'] = {};
  const isOver = async (): Promise<boolean> => {
    ({ status } = await api.expect<Pod>('GET', `${pods}/${name}`));
    return status.phase === 'Succeeded' || status.phase === 'Failed';
  };
  const ended = waitFor(isOver, { timeoutMs: POD_MS, what: `pod ${name}`, intervalMs: 200 });
  await ended.catch((cause: unknown) => {
    throw new Error(`pod ${name}: ${JSON.stringify(status)}`, { cause });
  });
  if (status.phase !== 'Succeeded') throw new Error(`pod ${name}: ${JSON.stringify(status)}`);
}
