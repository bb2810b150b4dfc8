import type { Check } from './check.ts';
import { configFile } from './config-file.ts';
import { proxyPlugin, criSettings } from './containerd-settings.ts';
import { containerdPlugin } from './containerd.ts';
import { fuseDevice } from './fuse-device.ts';
import { erofs, fuse, kernel, overlay } from './kernel.ts';
import { limits } from './limits.ts';
import { clock, registries } from './registries.ts';
import { disk, rootFolder } from './root-folder.ts';
import { credentialSources, lazyMode, readiness, service, snapshots, troubles } from './service.ts';
import { adminSocket, containerdSocket, serviceSocket } from './sockets.ts';
import { systemd } from './systemd.ts';

/** From the ground up, in the order in which they are shown: what stands below may be the cause of what stands further on. */
export const ALL_CHECKS: readonly Check[] = [
  kernel,
  erofs,
  fuse,
  overlay,
  fuseDevice,
  rootFolder,
  disk,
  configFile,
  service,
  serviceSocket,
  adminSocket,
  limits,
  systemd,
  lazyMode,
  readiness,
  snapshots,
  containerdSocket,
  containerdPlugin,
  proxyPlugin,
  criSettings,
  credentialSources,
  registries,
  clock,
  troubles,
];
