frappe.provide("frappe.dashboards.chart_sources");

frappe.dashboards.chart_sources["Punches by Day"] = {
	method:
		"biometric_integration.biometric_integration.dashboard_chart_source.punches_by_day.punches_by_day.get_data",
	filters: [],
};
