"""What holds for all tests: what they start hears Ctrl-C, also where they run in the background, which ignores it."""

import signal

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
