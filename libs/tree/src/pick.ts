export function pickWords(column: Uint32Array, places: Uint32Array): Uint32Array {
  return pick(column, places, new Uint32Array(places.length));
}

export function pickDoubles(column: Float64Array, places: Uint32Array): Float64Array {
  return pick(column, places, new Float64Array(places.length));
}

/** Copies the values of a column at the given places, in their order; a plain loop, because `from` and `map` are several times slower. */
export function pick<T extends Uint8Array | Uint32Array | Int32Array | Float64Array>(column: T, places: Uint32Array, into: T): T {
  for (let i = 0; i < places.length; i++) into[i] = column[places[i] ?? 0] ?? 0;
  return into;
}
