#!/bin/bash
#
# manifest-service in DevStack. In local.conf:
#
#   [[local|localrc]]
#   enable_plugin manifest-service <URL or path of this repository>
#
# Glance is made to notify; its stores and broker are taken over from glance-api.conf.

# shellcheck disable=SC2154  # What is not set here is DevStack's, or in devstack/settings.

function install_manifest_service {
    # An environment of its own: our libraries' bounds are no business of the other services'.
    python3 -m venv "$MANIFEST_SERVICE_VENV"
    "$MANIFEST_SERVICE_VENV/bin/pip" install -c "$MANIFEST_SERVICE_DIR/constraints.txt" \
        "${MANIFEST_SERVICE_DIR}[service,postgresql,mysql,s3,swift]"
    install_package qemu-utils
}

function configure_manifest_service {
    sudo install -d -o "$STACK_USER" "$MANIFEST_SERVICE_CONF_DIR" "$MANIFEST_SERVICE_STATE_PATH"
    install -m 0600 /dev/null "$MANIFEST_SERVICE_CONF"

    iniset "$MANIFEST_SERVICE_CONF" DEFAULT state_path "$MANIFEST_SERVICE_STATE_PATH"
    iniset "$MANIFEST_SERVICE_CONF" DEFAULT log_file ""
    iniset "$MANIFEST_SERVICE_CONF" DEFAULT debug "$ENABLE_DEBUG_LOG_LEVEL"
    iniset "$MANIFEST_SERVICE_CONF" DEFAULT transport_url "$(get_notification_url)"
    iniset "$MANIFEST_SERVICE_CONF" database connection "$(manifest_service_database)"
    iniset "$MANIFEST_SERVICE_CONF" api listen "$MANIFEST_SERVICE_LISTEN"
    iniset "$MANIFEST_SERVICE_CONF" worker processes "$MANIFEST_SERVICE_WORKERS"
    iniset "$MANIFEST_SERVICE_CONF" attestations signing_key "$MANIFEST_SERVICE_CONF_DIR/signing-key.pem"

    iniset "$MANIFEST_SERVICE_CONF" glance auth_type password
    iniset "$MANIFEST_SERVICE_CONF" glance auth_url "$KEYSTONE_SERVICE_URI"
    iniset "$MANIFEST_SERVICE_CONF" glance username manifest-service
    iniset "$MANIFEST_SERVICE_CONF" glance password "$SERVICE_PASSWORD"
    iniset "$MANIFEST_SERVICE_CONF" glance user_domain_name "$SERVICE_DOMAIN_NAME"
    iniset "$MANIFEST_SERVICE_CONF" glance project_name "$SERVICE_PROJECT_NAME"
    iniset "$MANIFEST_SERVICE_CONF" glance project_domain_name "$SERVICE_DOMAIN_NAME"

    # Off by default in Glance.
    iniset "$GLANCE_API_CONF" oslo_messaging_notifications driver messagingv2
    iniset "$GLANCE_API_CONF" oslo_messaging_notifications transport_url "$(get_notification_url)"
}

function manifest_service_database {
    # DevStack's own URL names the driver that the other services use.
    local url
    url=$(database_connection_url manifest_service)
    case $url in
    postgresql*) echo "postgresql+psycopg://${url#*://}" ;;
    *) echo "mysql+pymysql://${url#*://}" ;;
    esac
}

function init_manifest_service {
    recreate_database manifest_service
    manifest_service db upgrade
    if [[ ! -e $MANIFEST_SERVICE_CONF_DIR/signing-key.pem ]]; then
        "$MANIFEST_SERVICE_VENV/bin/manifest-service" keys generate "$MANIFEST_SERVICE_CONF_DIR/signing-key.pem"
    fi
    # Reconciling asks for every image, which takes an administrator.
    create_service_user manifest-service admin
}

function manifest_service {
    "$MANIFEST_SERVICE_VENV/bin/manifest-service" "$@" --config-file "$MANIFEST_SERVICE_CONF"
}

function start_manifest_service {
    local command="$MANIFEST_SERVICE_VENV/bin/manifest-service"
    local ours="--config-file $MANIFEST_SERVICE_CONF"
    local both="--config-file $GLANCE_API_CONF $ours"
    run_process manifest-listener "$command listener $both"
    run_process manifest-worker "$command worker $both"
    run_process manifest-api "$command api $ours"
}

function stop_manifest_service {
    stop_process manifest-api
    stop_process manifest-worker
    stop_process manifest-listener
}

function cleanup_manifest_service {
    sudo rm -rf "$MANIFEST_SERVICE_CONF_DIR" "$MANIFEST_SERVICE_STATE_PATH" "$MANIFEST_SERVICE_VENV"
}

# DevStack sources this file with a phase: https://docs.openstack.org/devstack/latest/plugins.html
case "$1 ${2:-}" in
"stack install") install_manifest_service ;;
"stack post-config")
    configure_manifest_service
    init_manifest_service
    ;;
"stack extra") start_manifest_service ;; # Glance runs by now.
"unstack ") stop_manifest_service ;;
"clean ") cleanup_manifest_service ;;
esac
