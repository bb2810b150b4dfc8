export { Child, waitFor, type ChildOptions, type WaitOptions } from './child.ts';
export { Containerd, type ContainerdOptions } from './containerd.ts';
export { DelayLine, type DelayLineOptions } from './delay-line.ts';
export { freePort } from './ports.ts';
export { Registry, type RegistryOptions, type Served } from './registry.ts';
