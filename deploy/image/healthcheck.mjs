#!/usr/bin/env node
// Whether a service is well, for health checks of containers: `node healthcheck.mjs TARGET...` ends with 0 when all of them say yes within three seconds.
// A target is the path of a Unix socket with gRPC's health service, the URL of a page (a status below 400 is a yes), or HOST:PORT, which has to accept a connection.
// Nothing but Node is needed, so that it starts fast and runs in every image.
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';

const TIMEOUT_MS = 3_000;
/** A message of no bytes, in gRPC's framing: `HealthCheckRequest` for the server as a whole. */
const REQUEST = Buffer.alloc(5);
/** `HealthCheckResponse { status: SERVING }`: field 1, a varint, 1. */
const SERVING = Buffer.from([0, 0, 0, 0, 2, 8, 1]);

/** @returns what is wrong, undefined when nothing is */
function askGrpc(path) {
  return new Promise((answer) => {
    const session = connectHttp2('http://localhost', { createConnection: () => connect(path) });
    session.on('error', (error) => answer(error.message));
    const call = session.request({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const parts = [];
    call.on('data', (part) => parts.push(part));
    call.on('error', (error) => answer(error.message));
    call.on('end', () => answer(Buffer.concat(parts).equals(SERVING) ? undefined : 'not serving'));
    call.end(REQUEST);
  });
}

async function askPage(url) {
  const response = await fetch(url, { redirect: 'manual' });
  return response.status < 400 ? undefined : `${response.status}: ${(await response.text()).trim()}`;
}

function askPort(target) {
  const [, host, port] = /^(.+):(\d+)$/.exec(target) ?? [];
  if (host === undefined) return Promise.resolve('neither a path, a URL nor HOST:PORT');
  return new Promise((answer) => {
    connect(Number(port), host)
      .on('connect', () => answer(undefined))
      .on('error', (error) => answer(error.message));
  });
}

function ask(target) {
  if (target.startsWith('/')) return askGrpc(target);
  return /^https?:/.test(target) ? askPage(target) : askPort(target);
}

function fail(text) {
  process.stderr.write(`${text}\n`);
  process.exit(1);
}

const targets = process.argv.slice(2);
if (targets.length === 0) fail('usage: healthcheck.mjs TARGET...');
setTimeout(() => fail(`no answer within ${TIMEOUT_MS} ms`), TIMEOUT_MS);
for (const target of targets) {
  const problem = await ask(target).catch((error) => error.cause?.message ?? error.message);
  if (problem !== undefined) fail(`${target}: ${problem}`);
}
process.exit(0);
