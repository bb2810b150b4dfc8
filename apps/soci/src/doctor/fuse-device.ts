import { constants, open, stat } from 'node:fs/promises';
import { describeError, hasCode, isNotFound } from '@soci/errors';
import { ok, problem, warning, type Check } from './check.ts';

const DEVICE = '/dev/fuse';

export const fuseDevice: Check = {
  name: 'fuse-device',
  run: async (context) => {
    const path = context.path(DEVICE);
    try {
      if (!(await stat(path)).isCharacterDevice())
        return problem(`${DEVICE} is no device`, `rm ${DEVICE}; mknod -m 666 ${DEVICE} c 10 229`);
      await (await open(path, constants.O_RDWR)).close();
      return ok(`${DEVICE} can be opened`);
    } catch (error) {
      if (isNotFound(error))
        return problem(`${DEVICE} is not there`, 'modprobe fuse; in a container, give it the device (--device /dev/fuse, or privileged)');
      if (hasCode(error, 'EACCES')) return warning(`${DEVICE} may not be opened by this user`, 'run this as root');
      if (hasCode(error, 'EPERM'))
        return problem(`${DEVICE} may not be opened here`, 'allow the device in the cgroup (DeviceAllow=/dev/fuse rw, or privileged)');
      return problem(describeError(error), 'modprobe fuse');
    }
  },
};
