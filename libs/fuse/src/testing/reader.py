"""Reads a file again and again, never from the page cache, until its standard input ends; then tells how often, and the longest wait for one piece.

reader.py read|mmap <file> <sha256>. Ends with 1 at the first error or wrong byte.
"""
import hashlib, json, mmap, os, select, sys, time

how, path, want = sys.argv[1:4]
PIECE = 128 << 10
fd = os.open(path, os.O_RDONLY)
size = os.fstat(fd).st_size
passes, longest = 0, 0.0


def pieces():
    if how == 'read':
        for at in range(0, size, PIECE):
            yield lambda: os.pread(fd, PIECE, at)
    else:
        with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
            for at in range(0, size, PIECE):
                yield lambda: mapped[at:at + PIECE]


while not select.select([sys.stdin], [], [], 0)[0]:
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    digest = hashlib.sha256()
    for piece in pieces():
        start = time.monotonic()
        digest.update(piece())
        longest = max(longest, time.monotonic() - start)
    if digest.hexdigest() != want:
        sys.exit('wrong bytes')
    passes += 1
print(json.dumps({'passes': passes, 'longestMs': longest * 1000}))
