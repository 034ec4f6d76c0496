# Stops the engines of a process that is gone. $1: a folder to remove at the end, or empty.
# Standard input is a pipe whose only writer is that process. Lines: "watch PID SIGNAL" and "forget PID".
trap '' HUP INT QUIT TERM

watched=
while read -r verb pid signal; do
  case $verb in
    watch) watched="$watched $pid:$signal" ;;
    forget)
      kept=
      for entry in $watched; do
        [ "${entry%%:*}" = "$pid" ] || kept="$kept $entry"
      done
      watched=$kept
      ;;
  esac
done

# A zombie has stopped, although it still answers kill -0.
alive() {
  kill -0 "$1" 2>/dev/null || return 1
  if [ -r "/proc/$1/stat" ]; then
    read -r stat_pid stat_name stat_state stat_rest <"/proc/$1/stat" || return 1
    [ "$stat_state" != Z ]
  fi
}

any_alive() {
  for entry in $watched; do
    if alive "${entry%%:*}"; then return 0; fi
  done
  return 1
}

for entry in $watched; do
  kill -s "${entry#*:}" "${entry%%:*}" 2>/dev/null
done
left=50
while [ "$left" -gt 0 ] && any_alive; do
  sleep 0.1
  left=$((left - 1))
done
for entry in $watched; do
  if alive "${entry%%:*}"; then kill -s KILL "${entry%%:*}" 2>/dev/null; fi
done

# Children of a killed postgres may write for a moment longer.
if [ -n "$1" ]; then
  rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
fi
