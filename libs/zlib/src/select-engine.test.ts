import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BlockInflater, InflateEngine } from './inflate-engine.ts';
import { PAKO_ENGINE } from './pako-engine.ts';
import { chooseEngine, selectEngine, testEngine } from './select-engine.ts';
import { ZlibError } from './zlib-error.ts';

interface Spoiled {
  /** Added to the count of unused bits. */
  readonly bits?: number;
  readonly afterInflate?: (output: Uint8Array, start: number) => void;
}

/** An engine that is right but for one thing. */
function spoiledEngine({ bits = 0, afterInflate }: Spoiled): InflateEngine {
  return { name: 'pako', open: () => spoil(PAKO_ENGINE.open()) };

  function spoil(inner: BlockInflater): BlockInflater {
    return {
      input: inner.input,
      output: inner.output,
      get availableIn() {
        return inner.availableIn;
      },
      get dataType() {
        return inner.dataType ^ bits;
      },
      get produced() {
        return inner.produced;
      },
      setInput: (length) => inner.setInput(length),
      inflate: (start) => {
        const status = inner.inflate(start);
        afterInflate?.(inner.output, start);
        return status;
      },
      reset: () => inner.reset(),
      [Symbol.dispose]: () => inner[Symbol.dispose](),
    };
  }
}

describe('selectEngine', () => {
  it('chooses the native engine here, once', () => {
    assert.equal(selectEngine().name, 'native');
    assert.equal(selectEngine(), selectEngine());
  });
});

describe('chooseEngine', () => {
  it('falls back to JavaScript where there is no other engine, or it does not work', () => {
    const missing = () => {
      throw new ZlibError('ENGINE_UNAVAILABLE', 'no such library');
    };
    assert.equal(chooseEngine(missing), PAKO_ENGINE);
    assert.equal(
      chooseEngine(() => spoiledEngine({ bits: 2 })),
      PAKO_ENGINE,
    );
  });
});

describe('testEngine', () => {
  it('trusts pako, also behind a wrapper', () => {
    testEngine(PAKO_ENGINE);
    testEngine(spoiledEngine({}));
  });

  it('notices wrong bits', () => {
    assert.throws(() => testEngine(spoiledEngine({ bits: 1 })), { name: 'ZlibError', code: 'ENGINE_UNAVAILABLE' });
  });

  it('notices an engine that writes over its history', () => {
    const engine = spoiledEngine({ afterInflate: (output, start) => output.fill(0, start - 100, start) });
    assert.throws(() => testEngine(engine), { name: 'ZlibError', code: 'ENGINE_UNAVAILABLE' });
  });
});
