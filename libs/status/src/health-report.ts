/** Whether a service is alive, or of use, and what was looked at. */
export interface HealthReport {
  /** Whether every check is. */
  readonly ok: boolean;
  readonly checks: readonly HealthCheck[];
}

export interface HealthCheck extends HealthFinding {
  /** `main-loop`, `containerd-socket`, `restore`, `fuse-read` */
  readonly name: string;
}

export interface HealthFinding {
  readonly ok: boolean;
  /** What was found, or what is being waited for. */
  readonly message: string;
}

/** Something that must be so before a service is of use. */
export interface HealthCondition {
  readonly name: string;
  /** A rejection says no, too. The signal is its deadline; one that does not heed it is not asked again before it has come back. */
  check(signal: AbortSignal): HealthFinding | Promise<HealthFinding>;
}
