# The API under gunicorn: pip install gunicorn, then
#
#   gunicorn --config /etc/manifest-service/gunicorn.conf.py
#
# SIGHUP reads all configuration again and lets requests under way end; SIGTERM drains.
# https://gunicorn.org/reference/settings/

wsgi_app = "api.wsgi:application"
raw_env = ["MANIFEST_SERVICE_CONFIG_FILES=/etc/manifest-service/manifest-service.conf"]

# Only for the server in front of it, which speaks TLS and, unless [api] auth_strategy is keystone, authenticates
# callers. [api] listen is not read here.
bind = "127.0.0.1:9494"

# Processes, and threads in each; [api] threads of manifest-service.conf should say the same as `threads`.
workers = 4
worker_class = "gthread"
threads = 8

# Never before the fork: what a process has open is its own.
preload_app = False

# Exports stream for minutes, and gthread counts silence of the process, not the length of an answer.
timeout = 60
graceful_timeout = 30
keepalive = 65
limit_request_line = 8190
limit_request_field_size = 32768  # a token may be long
# Nothing that a request says of itself is believed: not SCRIPT_NAME, by which one path passes for another at a proxy
# that looks at paths.
forwarded_allow_ips = ""
# No second door: signals do what is needed, and all instances of one user would share this socket in their home.
control_socket_disable = True
# Heartbeats are files; on a disk they would wait for it.
worker_tmp_dir = "/dev/shm"  # noqa: S108

accesslog = None
errorlog = "-"
