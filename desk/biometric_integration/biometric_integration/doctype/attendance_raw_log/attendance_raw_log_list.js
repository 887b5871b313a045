frappe.listview_settings["Attendance Raw Log"] = {
	hide_name_column: true,
	hide_name_filter: true,

	onload(listview) {
		// The API finds these by the whole value only, where Frappe's own boxes would ask for a part of it.
		const add_box = (df) =>
			listview.page.add_field({
				...df,
				onchange: () => listview.filter_area.debounced_refresh_list_view(),
			});
		add_box({ fieldname: "device_user_id", label: __("Device User ID"), fieldtype: "Data", condition: "=" });
		add_box({ fieldname: "site", label: __("Site"), fieldtype: "Data", condition: "=" });
		add_box({ fieldname: "event_time", label: __("Days"), fieldtype: "DateRange", condition: "Between" });
		listview.sort_selector?.wrapper.hide();
	},

	get_indicator(doc) {
		const colors = { delivered: "green", dropped: "gray", waiting: "orange", dead_lettered: "red" };
		return [__(doc.outcome), colors[doc.outcome] || "blue", `outcome,=,${doc.outcome}`];
	},
};
