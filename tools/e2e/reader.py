"""Reads the same things again and again, never from the page cache, at an even pace, and stamps each read. Runs in a container.

reader.py read|mmap|files <path> <sha256> <seconds for one pass> <folder>. Ends when there is a file `stop` in the folder. Into <folder>/<way>.json goes, every
second, how it did; `error` is what was wrong.
"""
import hashlib, json, mmap, os, sys, time

way, path, want, pass_seconds, folder = sys.argv[1:6]
PIECE = 128 << 10
result = {'passes': 0, 'reads': 0, 'stalls': [], 'isOver': False, 'error': None}
told = 0.0


def tell():
    name = os.path.join(folder, way + '.json')
    with open(name + '.next', 'w') as out:
        json.dump(result, out)
    os.rename(name + '.next', name)


def pieces_of_file():
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    offsets = range(0, size, PIECE)
    if way == 'read':
        return [lambda at=at: os.pread(fd, PIECE, at) for at in offsets], lambda: os.close(fd)
    mapped = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
    return [lambda at=at: mapped[at:at + PIECE] for at in offsets], lambda: (mapped.close(), os.close(fd))


def read_whole(name):
    fd = os.open(name, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, size + 1)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return data
    finally:
        os.close(fd)


def pieces_of_folder():
    names = sorted(os.listdir(path))
    return [lambda name=name: read_whole(os.path.join(path, name)) for name in names], lambda: None


def stamp(piece):
    """One read, and how long it took: the longest ones are kept, with the time at which they began."""
    global told
    wall, start = time.time(), time.monotonic()
    data = piece()
    end = time.monotonic()
    result['reads'] += 1
    result['stalls'] = sorted(result['stalls'] + [[round((end - start) * 1000), wall]], reverse=True)[:8]
    if end - told > 1:
        told = end
        tell()
    return data


def is_stopped():
    return os.path.exists(os.path.join(folder, 'stop'))


try:
    while not is_stopped():
        pieces, close = pieces_of_folder() if way == 'files' else pieces_of_file()
        digest = hashlib.sha256()
        pause = float(pass_seconds) / len(pieces)
        due = time.monotonic()
        for number, piece in enumerate(pieces):
            digest.update(stamp(piece))
            due += pause
            # After a stop the rest of the pass is read without pauses: each pass ends with its digest.
            if number % 64 == 0 and is_stopped():
                pause = 0
            early = due - time.monotonic()
            if pause > 0 and early > 0:
                time.sleep(early)
        close()
        if digest.hexdigest() != want:
            raise ValueError('wrong bytes')
        result['passes'] += 1
except BaseException as error:
    result['error'] = repr(error)
result['isOver'] = True
tell()
