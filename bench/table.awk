# table.awk: bench/compare's measurements as Markdown: host CPU time an operation, and ratios with geometric means.
#
# Input: MONITOR ROW CPU-SECONDS WALL-SECONDS OPERATIONS VALUE, one line a run; the variables are bench/compare's.

# Below this the two lines came at once, to a stopwatch that the host did not let run.
$3 < 0.02 { next }

{
	key = $1 SUBSEP $2
	samples[key, ++count[key]] = $3 / $5
	if ($2 in value && value[$2] != $6)
		wrong[$2] = wrong[$2] " " $1
	else
		value[$2] = $6
}

function median(key, n, i, j, t, v) {
	n = count[key]
	if (!n)
		return -1
	for (i = 1; i <= n; i++)
		v[i] = samples[key, i]
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && v[j - 1] > v[j]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

function time_text(t) {
	if (t < 0)
		return "-"
	if (t < 1e-6)
		return sprintf("%.0f ns", t * 1e9)
	if (t < 1e-3)
		return sprintf("%.3g us", t * 1e6)
	if (t < 1)
		return sprintf("%.3g ms", t * 1e3)
	return sprintf("%.2f s", t)
}

function cell(text) { printf " %s |", text }

# One line of a ratio table: a / b for each row of the list, and their geometric mean.
function ratio(label, a, b, list, n, i, r, row, sum, have) {
	n = split(list, row, " ")
	sum = have = 0
	printf "| %s |", label
	for (i = 1; i <= n; i++) {
		if (count[a, row[i]] && count[b, row[i]] && median(b SUBSEP row[i]) > 0) {
			r = median(a SUBSEP row[i]) / median(b SUBSEP row[i])
			cell(sprintf("%.2f", r))
			if (r > 0) {
				sum += log(r)
				have++
			}
		} else {
			cell("")
		}
	}
	cell(have == n ? sprintf("**%.2f**", exp(sum / have)) : "")
	printf "\n"
}

function ratios(title, list, n, i, row, any, best) {
	n = split(list, row, " ")
	any = 0
	for (i = 1; i <= n; i++)
		any += row[i] in value
	if (!any)
		return
	printf "\n| %s |", title
	for (i = 1; i <= n; i++)
		cell(row[i])
	printf " geometric mean |\n|---|"
	for (i = 0; i <= n; i++)
		printf "--:|"
	printf "\n"
	for (i = 1; i <= all; i++)
		if (who[i] != "native" && "native" in here && list != "boot")
			ratio(name[who[i]] " / native", who[i], "native", list)
	best = "bt" in here ? "bt" : "interp"
	for (i = 1; i <= all; i++)
		if (best in here && who[i] != best && who[i] != "native")
			ratio(name[who[i]] " / " name[best], who[i], best, list)
}

END {
	all = split(monitors, who, " ")
	n = split(names, pair, ";")
	for (i = 1; i <= n; i++)
		name[substr(pair[i], 1, index(pair[i], "=") - 1)] = substr(pair[i], index(pair[i], "=") + 1)
	for (i = 1; i <= all; i++)
		here[who[i]]
	n = split("boot " integer " " float " " kernel " " tools, row, " ")
	printf "| host CPU time an operation |"
	for (i = 1; i <= all; i++)
		cell(name[who[i]])
	printf "\n|---|"
	for (i = 1; i <= all; i++)
		printf "--:|"
	printf "\n"
	for (i = 1; i <= n; i++) {
		if (!(row[i] in value))
			continue
		printf "| %s |", row[i]
		for (j = 1; j <= all; j++)
			cell(time_text(median(who[j] SUBSEP row[i])))
		printf "\n"
	}
	ratios("boot", "boot")
	ratios("integer", integer)
	ratios("floating point and vectors", float)
	ratios("kernel", kernel)
	ratios("tools", tools)
	for (r in wrong)
		printf "\n**Wrong value in row %s:%s.**\n", r, wrong[r]
}
