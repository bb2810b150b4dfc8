/** Waits for ever; signals end the process, and with it all of its pid namespace. */
export function waitForEnd(): Promise<never> {
  return new Promise(() => setInterval(() => undefined, 1 << 30));
}
