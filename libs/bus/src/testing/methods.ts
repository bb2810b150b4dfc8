import type { Method, ServiceName, Topic } from '../bus.ts';
import type { Codec } from '../codec.ts';

/** A question in tests. */
export interface Question {
  readonly text: string;
  readonly host: string;
  readonly namespaces: readonly string[];
}

const json = <T>(): Codec<T> => ({
  encode: (value) => Buffer.from(JSON.stringify(value)),
  decode: (bytes) => JSON.parse(Buffer.from(bytes).toString()) as T,
});

export function plainMethod(service: ServiceName = 'cri-proxy', name = 'echo'): Method<Question, string> {
  return { service, name, request: json(), answer: json() };
}

export function sealedMethod(service: ServiceName = 'cri-proxy', name = 'secret'): Method<Question, string> {
  return {
    ...plainMethod(service, name),
    boundTo: ({ host, namespaces }) => ({ host, namespaces, reference: `${host}/app:1` }),
  };
}

export function testTopic(service: ServiceName = 'cri-proxy'): Topic<readonly string[]> {
  return { service, name: 'changed', event: json() };
}

export function question(text: string): Question {
  return { text, host: 'registry.example.com', namespaces: ['team-a'] };
}
