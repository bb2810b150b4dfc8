/** Whether bit `index` is set in a bitmap that other threads write. */
export function hasBit(bitmap: Int32Array, index: number): boolean {
  return (Atomics.load(bitmap, index >>> 5) & (1 << (index & 31))) !== 0;
}

/** Sets bit `index`; whoever sees it sees what was written before. */
export function setBit(bitmap: Int32Array, index: number): void {
  Atomics.or(bitmap, index >>> 5, 1 << (index & 31));
}

export function clearBit(bitmap: Int32Array, index: number): void {
  Atomics.and(bitmap, index >>> 5, ~(1 << (index & 31)));
}
