import type { HttpRequest, HttpResponse, ResponseBody, Transport } from '@soci/registry';

export interface ScriptedAnswer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
}

export interface RecordedRequest {
  readonly method: string;
  readonly url: URL;
  readonly authorization: string | undefined;
  readonly body: string;
}

/** A network of functions: hosts that exist nowhere, speaking https, in one process. */
export class ScriptedTransport implements Transport {
  readonly requests: RecordedRequest[] = [];
  readonly #answer: (request: RecordedRequest) => ScriptedAnswer;

  constructor(answer: (request: RecordedRequest) => ScriptedAnswer) {
    this.#answer = answer;
  }

  send({ method, url, headers, body }: HttpRequest): Promise<HttpResponse> {
    const text = body instanceof Uint8Array ? Buffer.from(body).toString('utf8') : '';
    const request = { method, url, authorization: headers.authorization, body: text };
    this.requests.push(request);
    return Promise.resolve(toResponse(this.#answer(request)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

function toResponse({ status, headers = {}, body = '' }: ScriptedAnswer): HttpResponse {
  const lines = (name: string): readonly string[] => [headers[name] ?? []].flat();
  return { status, headerLines: lines, header: (name) => lines(name)[0], body: new TextBody(body) };
}

class TextBody implements ResponseBody {
  #rest: Uint8Array | undefined;

  constructor(text: string) {
    this.#rest = text === '' ? undefined : Buffer.from(text);
  }

  take(): Uint8Array | undefined {
    const rest = this.#rest;
    this.#rest = undefined;
    return rest;
  }

  more(): Promise<boolean> {
    return Promise.resolve(this.#rest !== undefined);
  }

  discard(): void {
    this.#rest = undefined;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    while (await this.more()) {
      const chunk = this.take();
      if (chunk !== undefined) yield chunk;
    }
  }
}
