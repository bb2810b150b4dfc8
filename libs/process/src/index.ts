export { runMain, type RunOptions } from './run-main.ts';
export { untilAborted } from './until-aborted.ts';
