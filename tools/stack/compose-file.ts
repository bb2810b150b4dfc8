import { load, CORE_SCHEMA, mergeTag } from 'js-yaml';
import { z } from 'zod';

const text = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const dependency = z.object({ condition: z.enum(['service_started', 'service_healthy', 'service_completed_successfully']) });

/** What is understood of a service. Strict: a key that nobody acts on here would make the two kinds of stack differ unseen. */
const serviceSchema = z.strictObject({
  image: z.string(),
  build: z.strictObject({ context: z.string(), dockerfile: z.string(), target: z.string() }).optional(),
  command: z.array(text).default([]),
  environment: z.record(z.string(), text).default({}),
  user: z.string().optional(),
  privileged: z.boolean().default(false),
  read_only: z.boolean().default(false),
  cap_drop: z.array(z.literal('ALL')).default([]),
  cap_add: z.array(z.string()).default([]),
  security_opt: z.array(z.literal('no-new-privileges:true')).default([]),
  ulimits: z.strictObject({ core: z.literal(0) }).optional(),
  volumes: z.array(z.string()).default([]),
  tmpfs: z.array(z.string()).default([]),
  profiles: z.array(z.string()).default([]),
  depends_on: z.record(z.string(), dependency).default({}),
  healthcheck: z
    .strictObject({ test: z.array(z.string()), interval: z.string(), timeout: z.string(), retries: z.int() })
    .transform(({ test, ...rest }, context) => {
      const [kind, program, ...args] = test;
      if (kind === 'CMD' && program !== undefined) return { ...rest, command: [program, ...args] as const };
      context.addIssue('health checks are `CMD` and a program');
      return z.NEVER;
    })
    .optional(),
  stop_grace_period: z.string().optional(),
  // Of the network and of the engine: here all services share one network and one life.
  networks: z.array(z.string()).default([]),
  network_mode: z.literal('none').optional(),
  ports: z.array(z.string()).default([]),
  restart: z.literal('unless-stopped').optional(),
});

const composeSchema = z.looseObject({
  services: z.record(z.string(), serviceSchema),
  volumes: z.record(z.string(), z.strictObject({})),
});

export type ComposeService = z.output<typeof serviceSchema>;

export interface ComposeFile {
  readonly services: ReadonlyMap<string, ComposeService>;
  /** Names of the volumes that services share. */
  readonly volumes: readonly string[];
}

/**
 * Reads a compose file, as far as a stack of processes can act on it.
 * @param env for `${NAME:-default}`
 * @throws when it says something that would not be acted on
 */
export function parseComposeFile(source: string, env: Readonly<Record<string, string | undefined>>): ComposeFile {
  const filled = source.replaceAll(/\$\{(\w+)(?::-([^}]*))?\}/g, (_, name: string, otherwise = '') => {
    const given = env[name];
    return given === undefined || given === '' ? String(otherwise) : given;
  });
  const { services, volumes } = composeSchema.parse(load(filled, { schema: CORE_SCHEMA.withTags(mergeTag) }));
  return { services: new Map(Object.entries(services)), volumes: Object.keys(volumes) };
}
