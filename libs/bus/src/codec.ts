/** Between a value and its bytes on a wire. */
export interface Codec<T> {
  encode(value: T): Uint8Array;
  /** @throws when the bytes are not what `encode` gives */
  decode(bytes: Uint8Array): T;
}

/** What ts-proto generates for a message. */
export interface MessageType<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

/** A message of a proto file as it is. */
export function protoCodec<T>(type: MessageType<T>): Codec<T> {
  return { encode: (message) => type.encode(message).finish(), decode: (bytes) => type.decode(bytes) };
}
