export { assertNever } from './assert-never.ts';
export { describeError } from './describe-error.ts';
export { hasCode, isNotFound } from './has-code.ts';
