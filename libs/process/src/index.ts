export { BackOff, type BackOffOptions } from './back-off.ts';
export { pause } from './pause.ts';
export { runMain, type RunOptions } from './run-main.ts';
export { returnMemoryWhenIdle, type ReturnMemoryOptions } from './return-memory.ts';
export { runService, type Service, type ServiceContext } from './run-service.ts';
export { Turnstile } from './turnstile.ts';
export { untilAborted } from './until-aborted.ts';
export { REVISION, VERSION } from './version.ts';
