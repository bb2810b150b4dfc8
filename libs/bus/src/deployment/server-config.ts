import { permissionsOf, type Identity } from '../subjects.ts';

export interface ServerConfigOptions {
  /** `host:port` to serve on. */
  readonly listen: string;
  /** `host:port` for /healthz and figures, without TLS or login: a loopback address, or one that only a health check reaches. Empty: none. */
  readonly monitor: string;
  /** Where the folder of the certificate is on the server's machine. */
  readonly folder: string;
  readonly users: readonly { readonly identity: Identity; readonly publicKeys: readonly string[] }[];
}

const ANSWER_WITHIN = '15s';

/** nats-server.conf: TLS, one account, and users who may do what their service needs and nothing else. No streams: nothing that is said is kept. */
export function serverConfig({ listen, monitor, folder, users }: ServerConfigOptions): string {
  const lines = [
    '# Made by bus-keys, which overwrites it.',
    'server_name: "soci-bus"',
    `listen: ${quoted(listen)}`,
    ...(monitor === '' ? [] : [`http: ${quoted(monitor)}`]),
    'max_payload: 1048576',
    'max_control_line: 4096',
    'ping_interval: "5s"',
    'ping_max: 2',
    'write_deadline: "5s"',
    'lame_duck_duration: "30s"',
    'tls {',
    `  cert_file: ${quoted(`${folder}/server.crt`)}`,
    `  key_file: ${quoted(`${folder}/server.key`)}`,
    '  timeout: 5',
    '}',
    'accounts {',
    '  CREDENTIALS {',
    '    users: [',
    ...users.flatMap(({ identity, publicKeys }) => publicKeys.map((key) => `      ${user(key, identity)}`)),
    '    ]',
    '  }',
    '}',
  ];
  return `${lines.join('\n')}\n`;
}

function user(publicKey: string, identity: Identity): string {
  const { publish, subscribe, mayRespond } = permissionsOf(identity);
  const permissions = [
    `publish: { allow: [${publish.map(quoted).join(', ')}] }`,
    `subscribe: { allow: [${subscribe.map(quoted).join(', ')}] }`,
    ...(mayRespond ? [`allow_responses: { max: 1, expires: "${ANSWER_WITHIN}" }`] : []),
  ];
  return `{ nkey: ${publicKey}, permissions: { ${permissions.join(', ')} } } # ${[identity.service, identity.node].join(' ').trim()}`;
}

/** @throws {TypeError} for what would end the text */
function quoted(text: string): string {
  if (!/^[^"\\\p{Cc}]*$/u.test(text)) throw new TypeError(`${JSON.stringify(text)} cannot be written into a server configuration`);
  return `"${text}"`;
}
