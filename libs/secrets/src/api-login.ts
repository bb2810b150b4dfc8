import { Secret, SingleFlight } from '@soci/keychain';
import { readLoginFile, readPem, type ApiTarget } from './api-target.ts';
import { SecretsError } from './errors.ts';
import { runLoginProgram, type ProgramLogin } from './login-program.ts';

/** What one request shows the API server. */
export interface Presented {
  /** Value of the Authorization header. */
  readonly authorization: Secret | undefined;
  readonly certificate: Buffer | undefined;
  readonly key: Buffer | undefined;
}

export interface ApiLoginOptions {
  readonly target: ApiTarget;
  /** The service's own environment, for a login program. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly nowMs?: () => number;
  readonly programTimeoutMs?: number;
}

/** A login is renewed this long before it ends. */
const EARLY_MS = 10_000;
const OPEN_ID_TIMEOUT_MS = 30_000;

/** Logs in as the kubeconfig says. Files are read for every request; a program's login is kept until it ends or is refused. */
export class ApiLogin {
  readonly #options: Required<Omit<ApiLoginOptions, 'programTimeoutMs'>> & ApiLoginOptions;
  readonly #flights = new SingleFlight<ProgramLogin>();
  #programLogin: ProgramLogin | undefined;

  constructor(options: ApiLoginOptions) {
    this.#options = { nowMs: () => Date.now(), ...options };
  }

  /** @throws {SecretsError} `LOGIN_FAILED` */
  async present(signal: AbortSignal): Promise<Presented> {
    const { user } = this.#options.target;
    const [certificate, key] = await Promise.all([readPem(user.certificate, signal), readPem(user.key, signal)]);
    if (user.tokenFile !== undefined) {
      const token = (await readLoginFile(user.tokenFile, signal)).toString('utf8').trim();
      if (token === '') throw new SecretsError('LOGIN_FAILED', `${user.tokenFile}: empty`);
      return { authorization: bearer(token), certificate, key };
    }
    if (user.token !== undefined) return { authorization: bearer(user.token.reveal().trim()), certificate, key };
    if (user.program !== undefined) {
      const login = await this.#byProgram(signal);
      const authorization = login.token === undefined ? undefined : bearer(login.token.reveal());
      return { authorization, certificate: login.certificate ?? certificate, key: login.key ?? key };
    }
    if (user.openId !== undefined) return { authorization: await this.#byOpenId(user.openId, signal), certificate, key };
    return { authorization: this.#byPassword(), certificate, key };
  }

  /** The API server refused what was presented: a program is asked again. */
  forget(): void {
    this.#programLogin = undefined;
  }

  async #byProgram(signal: AbortSignal): Promise<ProgramLogin> {
    const { target, env, nowMs, programTimeoutMs } = this.#options;
    const held = this.#programLogin;
    if (held !== undefined && (held.expiresAtMs === undefined || nowMs() < held.expiresAtMs - EARLY_MS)) return held;
    const { program } = target.user;
    if (program === undefined) throw new SecretsError('LOGIN_FAILED', `kubeconfig ${target.origin}: no login program`);
    this.#programLogin = await this.#flights.run('', signal, (shared) =>
      runLoginProgram(program, target.server, env, shared, programTimeoutMs),
    );
    return this.#programLogin;
  }

  async #byOpenId(header: () => Promise<string | undefined>, signal: AbortSignal): Promise<Secret | undefined> {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(OPEN_ID_TIMEOUT_MS)]);
    const { promise: over, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(deadline.reason as Error);
    deadline.addEventListener('abort', onAbort, { once: true });
    try {
      const value = await Promise.race([header(), over]);
      return value === undefined ? undefined : Secret.of(value);
    } catch {
      signal.throwIfAborted();
      // What the issuer answered may hold a token.
      throw new SecretsError('LOGIN_FAILED', `kubeconfig ${this.#options.target.origin}: the issuer of its OpenID token gives no new one`);
    } finally {
      deadline.removeEventListener('abort', onAbort);
    }
  }

  #byPassword(): Secret | undefined {
    const { password } = this.#options.target.user;
    if (password === undefined) return undefined;
    return Secret.of(`Basic ${Buffer.from(`${password.username}:${password.password.reveal()}`).toString('base64')}`);
  }
}

function bearer(token: string): Secret {
  return Secret.of(`Bearer ${token}`);
}
