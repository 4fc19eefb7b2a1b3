# The API with TLS and no proxy in front. waitress, which `manifest-service api` runs, has none.
#
# For callers that are trusted: one that stops in the middle of a request holds a thread, for as long as it likes. For
# any others, nginx.conf or haproxy.cfg beside this.
#
#   pip install gunicorn
#   export MANIFEST_SERVICE_CONFIG_FILES=/etc/manifest-service/manifest-service.conf
#   gunicorn --config /etc/manifest-service/gunicorn.conf.py api.wsgi:application
#
# [api] listen and connections of manifest-service.conf have no effect here; bind below has. [api] threads bounds what
# is answered at a time: set it to the `threads` below, or lower.
bind = "[::]:9494"
certfile = "/etc/manifest-service/tls/certificate.pem"  # with the intermediate certificates behind it
keyfile = "/etc/manifest-service/tls/key.pem"

worker_class = "gthread"
workers = 2
threads = 8
timeout = 120  # of a worker that does not answer; an export may take longer, its thread being alive
graceful_timeout = 30
keepalive = 5
limit_request_field_size = 32768  # a token may be long
# Nothing that a request says of itself is believed: not SCRIPT_NAME, by which one path passes for another.
forwarded_allow_ips = ""
# No second door: signals do what is needed, and all instances of one user would share this socket in their home.
control_socket_disable = True

# Tokens are in headers, which this does not log.
accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(D)s "%({x-openstack-request-id}o)s"'
