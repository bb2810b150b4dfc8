const WITHHELD_VARIABLE = /^(?:NODE_.*|LD_.*|SOCI_.*|DOCKER_AUTH_CONFIG)$/;

/** What a program that gives credentials gets of the service's own environment: all of it, but for what concerns this process alone. */
export function helperEnvironment(env: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string>> {
  const kept = Object.entries(env).filter((pair): pair is [string, string] => pair[1] !== undefined && !WITHHELD_VARIABLE.test(pair[0]));
  return Object.fromEntries(kept);
}
