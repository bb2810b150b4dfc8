/** Where a worker's file is: beside the caller's, with the suffix that it runs with (source or compiled). */
export function workerUrl(name: string, callerUrl: string): URL {
  return new URL(`./${name}${callerUrl.endsWith('.ts') ? '.ts' : '.js'}`, callerUrl);
}
