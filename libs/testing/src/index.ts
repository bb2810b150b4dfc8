export { Child, waitFor, type ChildOptions, type WaitOptions } from './child.ts';
export { Containerd, type ContainerdOptions } from './containerd.ts';
export { Cri, type Login } from './cri.ts';
export { DelayLine, type DelayLineOptions } from './delay-line.ts';
export { FaultProxy, type Fault, type SeenRequest } from './fault-proxy.ts';
export { freePort } from './ports.ts';
export { Snapshotter, type SnapshotterOptions } from './snapshotter.ts';
export { Registry, type RegistryOptions, type Served } from './registry.ts';
