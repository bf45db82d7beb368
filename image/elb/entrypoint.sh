#!/bin/sh
# Renders HAProxy's configuration from the environment, then becomes HAProxy.
#   ELB_TARGETS     pg-1=198.18.7.11,pg-2=198.18.7.12: names for the log, addresses because
#                   HAProxy refuses to start when a name does not resolve
#   ELB_CHECK       path of the health check: /primary or /replica; or tcp: a target that accepts a
#                   connection on ELB_PORT is healthy, whatever it is
#   ELB_PORT        port to listen on and port of the targets (5432)
#   ELB_CHECK_PORT  port of the health check (8008; with tcp, ELB_PORT)
#   ELB_CHECK_SSL   on: the health check is HTTPS; whose certificate it meets is not asked, as on an
#                   ELB; off (the default): HTTP. What is carried stays TCP, with or without TLS in it
set -eu

: "${ELB_PORT:=5432}" "${ELB_CHECK_SSL:=off}" "${ELB_TARGETS:=}" "${ELB_CHECK:=}"
case "$ELB_CHECK" in
  tcp) : "${ELB_CHECK_PORT:=$ELB_PORT}" ;;
  *) : "${ELB_CHECK_PORT:=8008}" ;;
esac
export ELB_PORT ELB_CHECK ELB_CHECK_PORT
mistakes=0

refuse() {
  echo "elb: $1: $2; expected $3" >&2
  mistakes=$((mistakes + 1))
}

expect_port() {
  case "$2" in
    '' | *[!0-9]*) refuse "$1" "'$2'" 'a port number' ;;
    *) [ "$2" -ge 1024 ] && [ "$2" -le 65535 ] || refuse "$1" "'$2'" 'a port from 1024 to 65535' ;;
  esac
}

expect_port ELB_PORT "$ELB_PORT"
expect_port ELB_CHECK_PORT "$ELB_CHECK_PORT"
case "$ELB_CHECK" in
  '') refuse ELB_CHECK missing 'a path like /primary, or tcp' ;;
  *[!A-Za-z0-9/_?=.\&-]*) refuse ELB_CHECK "'$ELB_CHECK'" 'a path like /primary, or tcp' ;;
  /* | tcp) ;;
  *) refuse ELB_CHECK "'$ELB_CHECK'" 'a path like /primary, or tcp' ;;
esac
case "$ELB_CHECK_SSL $ELB_CHECK" in
  'on tcp') refuse ELB_CHECK_SSL "'on'" 'off, as tcp only connects' ;;
  'on '*) check=' check-ssl verify none' ;;
  'off '*) check='' ;;
  *) refuse ELB_CHECK_SSL "'$ELB_CHECK_SSL'" 'on or off' ;;
esac
[ -n "$ELB_TARGETS" ] || refuse ELB_TARGETS missing 'name=address,name=address'

# The state file's columns are told by its header; 0 in the 6th (operation) means out of service, in
# the 13th (check_health) that all `rise` checks are still to be passed, and 6 in the 14th
# (check_state) that the check is configured and enabled.
echo 1 > state
echo "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight" \
  "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state" \
  "srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl" \
  "srv_check_port srv_check_addr srv_agent_addr srv_agent_port" >> state
: > servers
number=0
IFS=,
for target in $ELB_TARGETS; do
  name=${target%%=*}
  address=${target#*=}
  case "$target" in
    *[!A-Za-z0-9=._-]* | =* | *= | *=*=*) refuse ELB_TARGETS "'$target'" name=address; continue ;;
    *=*) ;;
    *) refuse ELB_TARGETS "'$target'" name=address; continue ;;
  esac
  number=$((number + 1))
  echo "  server $name $address:$ELB_PORT${check-}" >> servers
  echo "2 elb $number $name $address 0 0 1 1 0 1 0 0 6 0 0 0 - $ELB_PORT - 0 0 - - 0" >> state
done
unset IFS

[ "$mistakes" -eq 0 ] || exit 2
sed -e '/^@SERVERS@$/{r servers' -e 'd}' "${0%/*}/haproxy.cfg" > haproxy.cfg
# -q: without a second copy of each line on standard error.
exec haproxy -db -q -f haproxy.cfg
