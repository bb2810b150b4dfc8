export type { BoundTo, Bus, BusState, Caller, Method, RequestOptions, ServiceName, Topic } from './bus.ts';
export { protoCodec, type Codec } from './codec.ts';
export { BusError, type BusErrorCode } from './errors.ts';
export { InProcessBus, type InProcessBusOptions } from './in-process-bus.ts';
export { connectBus, NatsBus, type ConnectBusOptions } from './nats-bus.ts';
export { isNodeId, toNodeId } from './node-id.ts';
