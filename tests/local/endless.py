"""A step that never ends, and neither does what it starts."""

import subprocess
import sys

waiting = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("begun", file=sys.stderr, flush=True)
waiting.wait()
