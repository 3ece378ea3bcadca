"""What every request passes, in one ordered list: hosts, request log, security headers, problem documents."""
