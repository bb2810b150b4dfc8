"""What systemd does for a unit with a socket, NotifyAccess=all and FileDescriptorStoreMax=: runs a command, keeps descriptors that it is sent, and hands
them and the socket over at the next start.

fake-systemd.py <command...>. Orders on standard input: `restart <pid>` stops the command by SIGTERM, `crash <pid>` kills it and the process <pid>;
then the command is started again. Ends when its standard input does.
"""
import array, os, select, signal, socket, sys, tempfile

notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind('\0soci-fake-systemd-%d' % os.getpid())
listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(os.path.join(tempfile.mkdtemp(), 'socket'))
listener.listen()
stored = []  # name, descriptor


def start():
    pid = os.fork()
    if pid != 0:
        return pid
    passed = [('soci.socket', listener.fileno())] + stored
    high = [os.dup(fd) for _, fd in passed]
    high = [os.dup2(fd, 200 + at) for at, fd in enumerate(high)]
    for at, fd in enumerate(high):
        os.dup2(fd, 3 + at)
    os.closerange(3 + len(high), 1000)
    os.environ.update(NOTIFY_SOCKET='@soci-fake-systemd-%d' % os.getppid(), FDSTORE='16', LISTEN_PID=str(os.getpid()),
                      LISTEN_FDS=str(len(passed)), LISTEN_FDNAMES=':'.join(name for name, _ in passed))
    os.execvp(sys.argv[1], sys.argv[1:])


def receive():
    data, control, _, _ = notify.recvmsg(4096, 4096)
    fields = dict(line.split('=', 1) for line in data.decode().splitlines())
    fds = array.array('i')
    for level, kind, value in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(value[:len(value) - len(value) % fds.itemsize])
    name = fields.get('FDNAME', 'stored')
    if fields.get('FDSTOREREMOVE') == '1':
        stored[:] = [entry for entry in stored if entry[0] != name]
    if fields.get('FDSTORE') == '1':
        for fd in fds:
            if not any(os.path.sameopenfile(fd, old) and name == known and os.fstat(fd).st_rdev == 0 for known, old in stored):
                stored.append((name, fd))


main = start()
while True:
    ready, _, _ = select.select([notify, sys.stdin], [], [])
    if notify in ready:
        receive()
    if sys.stdin in ready:
        order = sys.stdin.readline().split()
        if not order:
            break
        if order[0] == 'restart':
            os.kill(main, signal.SIGTERM)
        else:
            os.kill(main, signal.SIGKILL)
            os.kill(int(order[1]), signal.SIGKILL)
        os.waitpid(main, 0)
        main = start()
