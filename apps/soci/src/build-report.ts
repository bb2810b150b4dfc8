import type { MultiBar, SingleBar } from 'cli-progress';
import { formatBuildEvent, type BuildEvent } from '@soci/index';
import { print } from './host.ts';
import type { Session } from './session.ts';

/** Shows what a build does: on a terminal a bar for each layer that is read, and everywhere the lines of the Go tool on standard output. */
export interface BuildReport extends Disposable {
  readonly onEvent: (event: BuildEvent) => void;
}

export async function reportBuild(session: Session): Promise<BuildReport> {
  const { stdout, stderr } = session.host;
  const { terminal } = stderr;
  const bars = terminal === undefined ? undefined : await drawBars(terminal);
  return {
    onEvent(event) {
      if (event.kind === 'progress') {
        bars?.update(event);
        return;
      }
      bars?.stop(); // what is told now comes after the last layer was read
      const line = formatBuildEvent(event);
      if (event.kind === 'prefetch-not-found') session.warn(`prefetch file ${event.path} not found in any layer`);
      else if (line !== undefined) print(stdout, line);
    },
    [Symbol.dispose]() {
      bars?.stop();
    },
  };
}

interface Bars {
  update(event: Extract<BuildEvent, { kind: 'progress' }>): void;
  /** Takes the bars away. */
  stop(): void;
}

const SHOWN_DIGEST = 'sha256:0123456789ab'.length;

async function drawBars(stream: NodeJS.WriteStream): Promise<Bars> {
  const { default: progress } = await import('cli-progress');
  const multi: MultiBar = new progress.MultiBar(
    {
      format: '{layer} [{bar}] {percentage}% {mib} of {totalMib} MiB',
      stream,
      clearOnComplete: true,
      hideCursor: true,
      noTTYOutput: false,
    },
    progress.Presets.legacy,
  );
  const bars = new Map<string, SingleBar>();
  let isShown = true;
  return {
    update({ layerDigest, bytesRead, totalBytes, done }) {
      if (!isShown) return;
      const payload = { layer: layerDigest.slice(0, SHOWN_DIGEST), mib: mib(bytesRead), totalMib: mib(totalBytes) };
      const bar = bars.get(layerDigest) ?? multi.create(totalBytes, 0, payload);
      bars.set(layerDigest, bar);
      bar.update(bytesRead, payload);
      if (done) multi.remove(bar);
    },
    stop() {
      if (isShown) multi.stop();
      isShown = false;
    },
  };
}

function mib(bytes: number): string {
  return (bytes / (1 << 20)).toFixed(1);
}
