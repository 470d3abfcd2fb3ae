"""Runs a program on a terminal of 24 lines and 100 columns, and plays what its first argument says:
  KEY:x          a key
  SIGNAL:n       a signal to the program
  SIZE:LxC       another size
  WAIT:text      until the text has come since the last step (20 s at most)
  PAUSE:seconds
Then it waits for the program's end and prints, as one line each: exit code, the last 400 characters that came, and whether
the terminal's modes are what they were."""
import fcntl, os, pty, select, struct, sys, termios, time

steps, command = sys.argv[1].split(), sys.argv[2:]
master, slave = pty.openpty()


def set_size(lines, columns):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


set_size(24, 100)
modes = termios.tcgetattr(slave)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.close(master)
    os.execvp(command[0], command)

text = ""


def read(seconds, until=None):
    global text
    end = time.time() + seconds
    while time.time() < end and (until is None or until not in text):
        if select.select([master], [], [], 0.05)[0]:
            text += os.read(master, 65536).decode()
    return until is None or until in text


for step in steps:
    verb, _, what = step.partition(":")
    if verb == "KEY":
        os.write(master, {"^C": b"\x03", "^Z": b"\x1a"}.get(what, what.encode()))
    elif verb == "SIGNAL":
        os.kill(pid, int(what))
    elif verb == "SIZE":
        text = ""
        set_size(*(int(n) for n in what.split("x")))
    elif verb == "PAUSE":
        read(float(what))
    elif verb == "WAIT":
        if not read(20, what):
            print("waited in vain for", what, "in", repr(text))
            os.kill(pid, 9)
            sys.exit(1)
for _ in range(400):
    read(0.05)
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        break
else:
    print("it does not end")
    os.kill(pid, 9)
    sys.exit(1)
read(0.1)
print("code", os.waitstatus_to_exitcode(status))
print(repr(text[-400:]))
print("modes", "as before" if termios.tcgetattr(slave) == modes else "changed")
