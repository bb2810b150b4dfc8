import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

const ROOT = join(import.meta.dirname, '..', '..');
const FOLDER = join(ROOT, 'deploy', 'systemd');
const ANALYZE = '/usr/bin/systemd-analyze';
const units = readdirSync(FOLDER).filter((name) => name.endsWith('.service'));
const MOUNTING = ['soci-snapshotter.service', 'soci-split-snapshotter.service'];
/** The exposure that `systemd-analyze security` may find at most, of 10. */
const EXPOSURE = { mounting: 5.5, other: 2 };
/** Whatever gives a unit mounts of its own, in which nobody else would see the snapshotter's. */
const OWN_MOUNTS =
  /^(Protect(System|Home|KernelTunables|KernelModules|KernelLogs|ControlGroups|Proc|Hostname)|ProcSubset|Private(Tmp|Devices|Mounts|Users|Network|IPC)|(ReadWrite|ReadOnly|Inaccessible|Exec|NoExec)Paths|Bind(ReadOnly)?Paths|Root(Directory|Image)|TemporaryFileSystem|DynamicUser|MountFlags)=/m;

describe('the units of systemd', () => {
  for (const unit of units) {
    const text = readFileSync(join(FOLDER, unit), 'utf8');
    const settings = settingsOf(text);
    const one = (name: string): string | undefined => settings.get(name)?.at(-1);
    const isMounting = MOUNTING.includes(unit);

    it(`${unit} starts a program that is there`, () => {
      const paths = [...(one('ExecStart') ?? '').matchAll(/\/opt\/soci\/(\S+)/g)].map(([, path]) => path ?? '');
      const missing = paths.filter((path) => !existsSync(join(ROOT, path)));
      assert.deepEqual(missing, []);
    });

    it(`${unit} keeps secrets off disks and gains no rights`, () => {
      assert.equal(one('LimitCORE'), '0');
      assert.equal(one('MemorySwapMax'), '0');
      assert.equal(one('NoNewPrivileges'), 'yes');
      assert.equal(one('SystemCallArchitectures'), 'native');
      assert.ok(settings.has('CapabilityBoundingSet') && settings.has('SystemCallFilter'));
    });

    if (isMounting)
      it(`${unit} lets the keeper work and mounts where everybody sees it`, () => {
        assert.deepEqual(['Type', 'NotifyAccess', 'ExitType', 'KillMode', 'OOMPolicy', 'Restart'].map(one), [
          'notify',
          'all',
          'cgroup',
          'mixed',
          'continue',
          'always',
        ]);
        assert.equal(one('Environment'), `FDSTORE=${one('FileDescriptorStoreMax')}`);
        assert.ok(Number(one('LimitNOFILE')) >= 1 << 20);
        assert.equal(OWN_MOUNTS.exec(text), null);
      });
    else
      it(`${unit} has no rights beside those that it names`, () => {
        const isMaker = one('Type') === 'oneshot'; // gives files to others
        assert.equal(one('CapabilityBoundingSet') === '', !isMaker);
        assert.equal(settings.has('User'), !isMaker);
        assert.equal(one('ProtectSystem'), 'strict');
      });

    it(`${unit} is understood by systemd`, { skip: !existsSync(ANALYZE) && 'systemd-analyze is not installed' }, () => {
      const { stderr } = spawnSync(ANALYZE, ['verify', join(FOLDER, unit)], { encoding: 'utf8' });
      // Where nothing is installed in /opt its programs are missing.
      const complaints = stderr.split('\n').filter((line) => line.includes(unit) && !line.includes('is not executable'));
      assert.deepEqual(complaints, []);
    });

    it(`${unit} exposes little`, { skip: !existsSync(ANALYZE) && 'systemd-analyze is not installed' }, (t) => {
      const { stdout } = spawnSync(ANALYZE, ['security', '--offline=true', join(FOLDER, unit)], { encoding: 'utf8' });
      const score = Number(/exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1]);
      if (Number.isNaN(score)) {
        t.skip('needs systemd-analyze security --offline, of systemd 250 or newer');
        return;
      }
      assert.ok(score <= (isMounting ? EXPOSURE.mounting : EXPOSURE.other), `${score}`);
    });
  }

  it('have a user for each service that needs no rights', () => {
    const users = readFileSync(join(FOLDER, 'soci.sysusers'), 'utf8');
    const named = units.flatMap((unit) => settingsOf(readFileSync(join(FOLDER, unit), 'utf8')).get('User') ?? []);
    assert.deepEqual(
      named.filter((user) => !new RegExp(`^u ${user} `, 'm').test(users)),
      [],
    );
    assert.equal(new Set(named).size, named.length);
  });

  it('have scores in their README', { skip: !existsSync(ANALYZE) && 'systemd-analyze is not installed' }, () => {
    const readme = readFileSync(join(FOLDER, 'README.md'), 'utf8');
    assert.deepEqual(
      units.filter((unit) => !new RegExp(`\`${unit}\`.*\\d\\.\\d`).test(readme)),
      [],
    );
  });
});

/** Each setting with its values, in order. */
function settingsOf(text: string): ReadonlyMap<string, readonly string[]> {
  const settings = new Map<string, string[]>();
  for (const [, name = '', value = ''] of text.replaceAll('\\\n', ' ').matchAll(/^(\w+)=(.*)$/gm))
    settings.set(name, [...(settings.get(name) ?? []), value]);
  return settings;
}
